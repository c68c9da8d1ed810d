"""Times beside those of peers: each section takes an `Effort` and gives groups of rows, which the
report prints, keeps and draws. It knows the trainings and the cases, whose code it times; it must
not know the program that asks for the sections, nor decide which of them run."""
