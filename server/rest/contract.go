package rest

import _ "embed"

// Contract is openapi.yaml as it was when this binary was built. It is copied here by "make generate",
// because a package can only embed what lies below it.
//
//go:embed openapi.gen.yaml
var Contract []byte
