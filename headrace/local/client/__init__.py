"""What talks to a running stack, embedded or in containers."""
