import urllib.request
urllib.request.urlopen('https://tdtqy-oyaaa-aaaae-af2dq-cai.raw.icp0.io/').read()
