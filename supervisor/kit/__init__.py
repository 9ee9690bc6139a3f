"""The test kit, public as `understudy.testing`: a runtime in this process, and kills of real processes."""
