"""What mmdet lacks for this project; configs import the modules they use, which registers them."""
