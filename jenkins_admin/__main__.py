"""`python -m jenkins_admin` is `mlci-admin`."""

import sys

from jenkins_admin.cli import main

sys.exit(main())
