"""Streets seen by a stereo camera."""
