"""Small games that show netplay at work: `python -m netplay.examples` lists them.

Each is one file to read in one sitting, to run, and to take apart.
They use pygame, the standard library and netplay's public names only: what they can do, your game can do.
"""
