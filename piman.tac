# -*- mode: python -*-
"""
``twistd -ny piman.tac`` runs what ``twistd -n piman`` runs, for set-ups that start a .tac file.

The configuration is $PIMAN_CONFIG, else ./piman.yaml.
"""

import os

from twisted.application.service import Application

from piman.service import Options, makeService

options = Options()
options.parseOptions(["--config", os.environ.get("PIMAN_CONFIG", "piman.yaml")])
application = Application("piman")
makeService(options).setServiceParent(application)
