"""Signals as a terminal has them: a shell's background job ignores SIGINT, and one of nohup SIGHUP.

Programs that tests start would inherit that, and wait for ever for the signal that is to end them.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
