"""The bundle as graphs of ONNX, written, read and checked. `import onnx` in here is the library."""
