"""The steps from ResNet to ConvNeXt: costs, diagrams and a chart."""
