"""
A downloaded image of Raspberry Pi OS becomes what piman serves.

:func:`piman.importing.images.import_image` is the whole of it; :func:`piman.importing.manifest.imported_images` lists
what was imported; :mod:`piman.importing.bootfiles` plans and carries out the way of the boot files into ``boot_dir``.
Everything here blocks: call it in a thread, or in a program of its own.
"""
