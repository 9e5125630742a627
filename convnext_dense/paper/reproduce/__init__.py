"""The commands that reproduce a row of the paper: pretraining, training and tests."""
