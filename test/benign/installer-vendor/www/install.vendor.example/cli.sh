mkdir -p ~/.vendor/bin && echo "cli is set up"
