"""Every token scored once: windows, losses of whole stories, intervals."""
