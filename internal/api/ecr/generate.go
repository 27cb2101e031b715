package ecr

//go:generate go run ../../../tools/shapegen -model ../../../models/ecr.json -package ecr -out shapes_gen.go
