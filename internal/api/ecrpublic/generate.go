package ecrpublic

//go:generate go run ../../../tools/shapegen -model ../../../models/ecr-public.json -package ecrpublic -out shapes_gen.go
