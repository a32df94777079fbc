"""Pictures looked at by many processes, on one machine or several: what is there, who looks, what is kept."""
