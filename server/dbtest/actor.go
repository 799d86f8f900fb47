package dbtest

import (
	"github.com/google/uuid"

	"reeve/tenants/scope"
)

func actor(tenant scope.ID, name string) scope.Actor {
	return scope.Actor{Kind: scope.User, ID: uuid.Must(uuid.NewV7()), TenantID: tenant, Name: name, Address: "192.0.2.1"}
}
