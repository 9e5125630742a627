"""The steps from ResNet to ConvNeXt (figure 2 of the paper) as one network with switches."""
