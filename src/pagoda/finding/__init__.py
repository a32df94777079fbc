"""The objects of one picture after another, and what should be known of the pictures."""
