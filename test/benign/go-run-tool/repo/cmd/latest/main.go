package main

import (
	"fmt"
	"net/http"
)

func main() {
	r, err := http.Get("https://api.github.com/repos/app/app/releases/latest")
	if err != nil {
		panic(err)
	}
	r.Body.Close()
	fmt.Println(r.Status)
}
