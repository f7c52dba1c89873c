"""
The conversation with an installer: what can happen in it, what is known, what is decided and said.

:mod:`piman.hello` is the protocol and the service on top of it.
"""
