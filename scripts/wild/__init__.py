"""Rules of other packages put to the checker: it takes the names of packages and the cases written
for their rules, and gives the rules that it finds, a verdict on each case, and the document about
them. It must not know the project's own operations or trainings."""
