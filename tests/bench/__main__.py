"""Program of `make bench`."""

import signal
import sys

# A Ctrl-C while the imports run ends the process as it ends any program, without their traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
