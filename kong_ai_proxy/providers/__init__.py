"""One file a provider: endpoints, quirks, which wire format it speaks."""
