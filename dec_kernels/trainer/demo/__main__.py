import sys

from dec_kernels.trainer.demo import main

sys.exit(main())
