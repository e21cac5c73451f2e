"""Writes the split that makemore.py makes: `python datasets/names/makemore_split.py` (needs torch).

makemore.py at commit 988aa59 seeds torch with 3407, draws `torch.randperm` over the 32,033 names
and takes the last 1,000 for its test set. The numbers of those names (0 is the first line of
names.txt) stand in makemore_test.txt, in that order; a test compares the first and the last. The
1,000 before them are makemore's training names too; they are our validation part, so that nothing
is chosen by looking at the test set: makemore_valid.txt.
"""

from pathlib import Path

import torch

NAMES = 32_033
HELD_OUT = 1_000

torch.manual_seed(3407)
order = torch.randperm(NAMES).tolist()
for part, numbers in {
    "test": order[-HELD_OUT:],
    "valid": order[-2 * HELD_OUT : -HELD_OUT],
}.items():
    lines = "".join(f"{number}\n" for number in numbers)
    Path(__file__).with_name(f"makemore_{part}.txt").write_text(lines, encoding="ascii")
