"""Exporting trained models to ONNX, OpenVINO, torch.export and TensorRT, with parity checked."""
