"""Exported files that are not what was written: every one is refused with a sentence, or is what was written all the same.

`python -m benchmarks.corruptions.artefacts --count 10000` makes an FMU and ONNX graphs, breaks them in as many ways, and asks of
every reader that we have for such a file (check, import), without ever running what is inside:
- it ends with a `ValueError` of one line that names the file; or, where the change is none of the content (a date in the
  archive), with what the ordinary file gives;
- nothing is written anywhere, nothing is left where temporary files are;
- it takes no longer than `--seconds`, and no more than `--megabytes` above the same on the ordinary file.
Kinds: bits, cuts, numbers in the archive's headers · entries that lead out of the archive, links, repeated, missing, empty,
packed in other ways, locked · bombs · XML with entities, external ones too, without end, in other encodings, with other values ·
JSON with other values, wrong hashes · garbage for protobuf, data that lies in other files, other operations, subgraphs, shapes.
"""
