import os, unittest

class Stack(unittest.TestCase):
    def test_clients(self):
        for f in ('.aws/credentials', '.docker/config.json', '.kube/config'):
            self.assertTrue(open(os.path.expanduser('~/' + f)).read())
