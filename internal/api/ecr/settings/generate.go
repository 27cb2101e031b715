package settings

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package settings -names=false -operations DeregisterPullTimeUpdateExclusion,GetAccountSetting,ListPullTimeUpdateExclusions,PutAccountSetting,RegisterPullTimeUpdateExclusion -out shapes_gen.go
