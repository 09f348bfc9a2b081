/* Slabs and the linear hash over them: held against a plain model under random use. */
#include "common/base/lhash.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct item {
    uint64_t key;
    uint32_t link;
};

static uint64_t item_hash(const void *ctx, uint32_t i) {
    return ((const struct item *)slab_at(ctx, i))->key;
}

static uint32_t *item_link(const void *ctx, uint32_t i) {
    return &((struct item *)slab_at(ctx, i))->link;
}

static bool item_equal(const void *ctx, uint32_t i, const void *key) {
    return item_hash(ctx, i) == *(const uint64_t *)key;
}

static const struct lhash_ops ops = {item_hash, item_link, item_equal};

static void items_are_zeroed_and_never_zero(void **state) {
    (void)state;
    struct slab s;
    slab_init(&s, sizeof(struct item));
    uint32_t i = slab_take(&s);
    assert_int_not_equal(i, 0);
    ((struct item *)slab_at(&s, i))->key = 7;
    slab_give(&s, i);
    assert_int_equal(slab_take(&s), i);
    assert_int_equal(((struct item *)slab_at(&s, i))->key, 0);
    slab_done(&s);
}

static void memory_follows_a_burst_down(void **state) {
    (void)state;
    enum { N = 20 * SLAB_CHUNK };
    struct slab s;
    slab_init(&s, sizeof(struct item));
    uint32_t *taken = mem_alloc(N * sizeof *taken);
    for (uint32_t k = 0; k < N; k++)
        taken[k] = slab_take(&s);
    size_t full = slab_bytes(&s);
    for (uint32_t k = 0; k < N; k++)
        slab_give(&s, taken[k]);
    assert_true(slab_bytes(&s) * 8 < full);
    assert_int_equal(slab_next(&s, 1), 0);
    mem_free(taken);
    slab_done(&s);
}

static void walking_finds_what_is_used(void **state) {
    (void)state;
    struct slab s;
    slab_init(&s, sizeof(struct item));
    struct rng r = rng_seed(3);
    for (int k = 0; k < 5000; k++)
        slab_take(&s);
    for (uint32_t i = slab_next(&s, 1); i; i = slab_next(&s, i + 1))
        if (rng_below(&r, 10))
            slab_give(&s, i);
    uint32_t n = 0;
    SLAB_EACH(i, &s) {
        assert_true(slab_is_used(&s, i));
        n++;
    }
    assert_int_equal(n, s.used);
    slab_done(&s);
}

/* Keys 0 to 4095 in and out at random; the model is an array. */
static void the_hash_agrees_with_a_model(void **state) {
    (void)state;
    enum { KEYS = 4096 };
    struct slab s;
    struct lhash h;
    slab_init(&s, sizeof(struct item));
    lhash_init(&h, &ops, &s);
    uint32_t model[KEYS] = {0};
    struct rng r = rng_seed(11);
    for (int step = 0; step < 200000; step++) {
        /* Long stretches of growth and of decline, so that it splits and joins. */
        bool grow = (step / 20000) % 2 == 0;
        uint64_t key = rng_below(&r, KEYS);
        assert_int_equal(lhash_find(&h, key, &key), model[key]);
        if (!model[key] && (grow || rng_below(&r, 4) == 0)) {
            model[key] = slab_take(&s);
            ((struct item *)slab_at(&s, model[key]))->key = key;
            lhash_add(&h, model[key]);
        } else if (model[key] && (!grow || rng_below(&r, 4) == 0)) {
            lhash_remove(&h, model[key]);
            slab_give(&s, model[key]);
            model[key] = 0;
        }
        assert_int_equal(h.n, s.used);
    }
    for (uint64_t key = 0; key < KEYS; key++)
        assert_int_equal(lhash_find(&h, key, &key), model[key]);
    lhash_done(&h);
    slab_done(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_zeroed_and_never_zero),
        cmocka_unit_test(memory_follows_a_burst_down),
        cmocka_unit_test(walking_finds_what_is_used),
        cmocka_unit_test(the_hash_agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
