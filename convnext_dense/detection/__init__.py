"""Detection parts that mmdet lacks; configs import, and so register, the modules that they use."""
