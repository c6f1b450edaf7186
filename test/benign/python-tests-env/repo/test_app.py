import os, unittest

class Settings(unittest.TestCase):
    def test_env(self):
        self.assertIn('DATABASE_PASSWORD', open('.env').read())

    def test_profile(self):
        self.assertIn('default', open(os.path.expanduser('~/.aws/credentials')).read())
