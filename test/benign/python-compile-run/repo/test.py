import subprocess, tempfile

d = tempfile.mkdtemp()
open(d + '/a.c', 'w').write('int main(void) { return 0; }')
subprocess.run(['gcc', '-o', d + '/a', d + '/a.c'], check=True)
subprocess.run([d + '/a'], check=True)
