"""Bundles that are not what was written: each is refused, or is what its bytes say, and neither takes more than was allowed.

`python -m benchmarks.corruptions --count 10000` makes a bundle, breaks it in as many ways, and asks of every file:
- `load` ends with a `ValueError` of one line that names the file, or with a model;
- changed bytes of the archive itself: the model is the one that was saved, to the last bit of everything that it holds;
- changed content under a manifest made right again: what is loaded, saved again, has the same content as the file, so that
  nothing was dropped, completed or read as something else; and the certificate is proved only where the weights, the people
  and the claim are those that it was made for;
- then `inspect`, `check` and, for one in four, `simulate` end well or with one sentence, and print nothing that a terminal would
  obey;
- what loads is as the published JSON Schemas say, entries that call themselves optional are written again as they were, and no
  file appears but those that were asked for;
- no step takes longer than `--seconds`, and none more memory than `--megabytes` above the same on the ordinary file.
"""
