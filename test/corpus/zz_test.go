package main
import ("testing";"github.com/org/edamame-posture/pkg/signature")
func TestPack(t *testing.T){ p,err:=signature.Default(); if err!=nil {t.Fatal(err)}; t.Log(len(p.Rules())) }
