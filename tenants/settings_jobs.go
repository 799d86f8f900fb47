package tenants

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// JobsOf is the brake that holds for each of several tenants, and the provider's, in one statement.
func (s *Settings) JobsOf(tx *gorm.DB, tenants []uuid.UUID) (map[uuid.UUID]JobSpec, error) {
	var rows []struct {
		TenantID uuid.UUID
		Spec     []byte
	}
	err := tx.Table("settings").Select("tenant_id, spec").Where("domain = ? AND tenant_id IN ?", domainJobs, append([]uuid.UUID{provider}, tenants...)).
		Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the job settings: %w", err)
	}
	own := map[uuid.UUID]JobSpec{}
	for _, r := range rows {
		spec := defaultJobs()
		if err := json.Unmarshal(r.Spec, &spec); err != nil {
			return nil, fmt.Errorf("reading the job settings: %w", err)
		}
		own[r.TenantID] = spec
	}
	specs := map[uuid.UUID]JobSpec{provider: defaultJobs()}
	if spec, ok := own[provider]; ok {
		specs[provider] = spec
	}
	for _, id := range tenants {
		specs[id] = specs[provider]
		if spec, ok := own[id]; ok {
			specs[id] = spec
		}
	}
	return specs, nil
}
