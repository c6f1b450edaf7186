echo 'export NVM_DIR="$HOME/.nvm"' >> ~/.bashrc
mkdir -p ~/.nvm && echo "nvm is set up"
