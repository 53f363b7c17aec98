"""Every argument of every public call in turn replaced by what a hand might put there instead.

Claim: no call answers with an error of Python, torch or numpy, and none takes longer than five seconds to answer. `table.py`
holds one valid call for every public name and method; here its arguments are replaced, one at a time, by None, words, lists,
objects of another kind, wrong widths, types and devices, NaN and infinity, and what comes back is sorted:

ours      an error that this project wrote: raised by a `raise` statement of ours, a sentence of 20 to 600 characters
the same  taken, with the result of the valid call (a list for a tensor, None for a default)
not finite   NaN or infinity went in, and came out again
another   taken, since it is another value of the right kind: 2.5 for 0.5, a tensor of the same axes with finite numbers in it
taken     taken, and listed in the table with the reason why that is right
bare, silent, slow     an error of somebody else's; nonsense taken in silence; more than five seconds: none of these may be

    python -m benchmarks.slips [--quick] [--only hybrid.Dose] [--show ours]
"""
