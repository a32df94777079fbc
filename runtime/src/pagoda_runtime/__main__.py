"""python -m pagoda_runtime"""

import sys

from pagoda_runtime.command import main

if __name__ == "__main__":
    sys.exit(main())
