package sts

//go:generate go run ../../../tools/shapegen -model ../../../models/sts.json -package sts -operations GetCallerIdentity -out shapes_gen.go
