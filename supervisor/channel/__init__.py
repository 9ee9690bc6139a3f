"""The supervisor's connection to one worker, behind one interface."""
