"""What mmsegmentation lacks: labels checked where they are read, an exact mean IoU, pictures."""
