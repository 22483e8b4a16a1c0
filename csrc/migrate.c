/* SPDX-License-Identifier: MIT */
#include "migrate.h"

#include <arpa/inet.h>
#include <string.h>

#include "state.h"

_Static_assert(MIGRATION_SIZE == sizeof(struct xfrm_user_migrate), "MIGRATION_SIZE");

void migration_pack(uint8_t *out, const struct migration *migration)
{
	struct xfrm_user_migrate wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.old_daddr, migration->old_destination, sizeof(wire.old_daddr));
	memcpy(&wire.old_saddr, migration->old_source, sizeof(wire.old_saddr));
	memcpy(&wire.new_daddr, migration->new_destination, sizeof(wire.new_daddr));
	memcpy(&wire.new_saddr, migration->new_source, sizeof(wire.new_saddr));
	wire.proto = migration->protocol;
	wire.mode = migration->mode;
	wire.reqid = migration->reqid;
	wire.old_family = migration->old_family;
	wire.new_family = migration->new_family;
	memcpy(out, &wire, sizeof(wire));
}

void migration_unpack(struct migration *migration, const uint8_t *data)
{
	struct xfrm_user_migrate wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(migration->old_destination, &wire.old_daddr, sizeof(wire.old_daddr));
	memcpy(migration->old_source, &wire.old_saddr, sizeof(wire.old_saddr));
	memcpy(migration->new_destination, &wire.new_daddr, sizeof(wire.new_daddr));
	memcpy(migration->new_source, &wire.new_saddr, sizeof(wire.new_saddr));
	migration->protocol = wire.proto;
	migration->mode = wire.mode;
	migration->reqid = wire.reqid;
	migration->old_family = wire.old_family;
	migration->new_family = wire.new_family;
}

void state_migration_pack(uint8_t *out, const struct state_migration *migration)
{
	struct xfrm_user_migrate_state wire;

	memset(&wire, 0, sizeof(wire));
	wire.id = usersa_id(migration->destination, migration->spi, migration->family, migration->protocol);
	memcpy(&wire.new_daddr, migration->new_destination, sizeof(wire.new_daddr));
	memcpy(&wire.new_saddr, migration->new_source, sizeof(wire.new_saddr));
	wire.old_mark.v = migration->mark_value;
	wire.old_mark.m = migration->mark_mask;
	memcpy(&wire.new_sel, migration->selector, sizeof(wire.new_sel));
	wire.new_reqid = migration->reqid;
	wire.flags = migration->flags;
	wire.new_family = migration->new_family;
	memcpy(out, &wire, sizeof(wire));
}

void state_migration_unpack(struct state_migration *migration, const uint8_t *data)
{
	struct xfrm_user_migrate_state wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(migration->destination, &wire.id.daddr, sizeof(wire.id.daddr));
	migration->spi = ntohl(wire.id.spi);
	migration->family = wire.id.family;
	migration->protocol = wire.id.proto;
	memcpy(migration->new_destination, &wire.new_daddr, sizeof(wire.new_daddr));
	memcpy(migration->new_source, &wire.new_saddr, sizeof(wire.new_saddr));
	migration->mark_value = wire.old_mark.v;
	migration->mark_mask = wire.old_mark.m;
	memcpy(migration->selector, &wire.new_sel, sizeof(wire.new_sel));
	migration->reqid = wire.new_reqid;
	migration->flags = wire.flags;
	migration->new_family = wire.new_family;
}
