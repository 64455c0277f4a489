"""Each folder of examples/ built and run as its user would: images of databases, sites and programs that are asked something.

`python -m tests.shapes [name…]` (make shapes). Begin in __main__.py; checks.py has what each must answer.
"""
