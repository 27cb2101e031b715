package templates

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package templates -names=false -operations CreateRepositoryCreationTemplate,DeleteRepositoryCreationTemplate,DescribeRepositoryCreationTemplates,UpdateRepositoryCreationTemplate -out shapes_gen.go
