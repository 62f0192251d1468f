"""Files to deploy, and the proof that they compute what was trained."""
