package iam

//go:generate go run ../../../tools/shapegen -model ../../../models/iam.json -package iam -operations none -out shapes_gen.go
