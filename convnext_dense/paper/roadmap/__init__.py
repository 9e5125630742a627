"""The steps from ResNet to ConvNeXt: their costs, drawn."""
