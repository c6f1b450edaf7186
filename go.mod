module github.com/org/edamame-posture

go 1.26.8
