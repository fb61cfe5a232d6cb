/* test_pages.c - the page pool against a plain model of it: what is found is what was published,
 * held pages are never given away, idle ones go in the order in which they fell idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/pages.h"

#define N_PAGES 5

static page_pool pool;

static int create(void **state)
{
    (void)state;
    return tern_pages_create(&pool, N_PAGES, NULL);
}

static int destroy(void **state)
{
    (void)state;
    tern_pages_destroy(&pool);
    return 0;
}

static const int32_t *page_of(int32_t first)
{
    static int32_t tokens[TERN_PAGE_TOK];
    for (int i = 0; i < TERN_PAGE_TOK; i++) tokens[i] = first + i;
    return tokens;
}

static int32_t publish(int32_t before, int32_t first)
{
    const int32_t page = tern_pages_take(&pool);
    assert_true(page >= 0);
    return tern_pages_publish(&pool, page, before, tern_page_hash(7, page_of(first)),
                              page_of(first));
}

static int32_t find(int32_t before, int32_t first)
{
    return tern_pages_find(&pool, before, tern_page_hash(7, page_of(first)), page_of(first));
}

static void test_take_and_release(void **state)
{
    (void)state;
    int32_t pages[N_PAGES];
    for (int i = 0; i < N_PAGES; i++) {
        pages[i] = tern_pages_take(&pool);
        assert_in_range(pages[i], 0, N_PAGES - 1);
        for (int j = 0; j < i; j++) assert_int_not_equal(pages[j], pages[i]);
    }
    assert_int_equal(tern_pages_take(&pool), -1);
    for (int i = 0; i < N_PAGES; i++) tern_pages_release(&pool, pages[i]);
    assert_int_equal(tern_pages_available(&pool), N_PAGES);
}

static void test_find(void **state)
{
    (void)state;
    const int32_t a = publish(-1, 100), b = publish(a, 200);
    assert_int_equal(find(-1, 100), a);
    assert_int_equal(find(a, 200), b);
    assert_int_equal(find(-1, 200), -1); /* the same tokens elsewhere */
    assert_int_equal(find(b, 200), -1);
    assert_int_equal(find(-1, 101), -1); /* another hash */
    const uint64_t hash = tern_page_hash(7, page_of(100)); /* the same hash, other tokens */
    assert_int_equal(tern_pages_find(&pool, -1, hash, page_of(101)), -1);
    assert_int_equal(publish(-1, 100), a); /* published twice: one page */
    assert_int_equal(tern_pages_available(&pool), N_PAGES - 2);
    for (int i = 0; i < 3; i++) tern_pages_release(&pool, a);
    for (int i = 0; i < 2; i++) tern_pages_release(&pool, b);
    assert_int_equal(tern_pages_available(&pool), N_PAGES);
}

/* A page given up and published anew does not bring its old successor back. */
static void test_stale_successor(void **state)
{
    (void)state;
    const int32_t a = publish(-1, 100), b = publish(a, 200);
    tern_pages_release(&pool, a); /* the first to go */
    int32_t others[N_PAGES];
    for (int i = 0; i < N_PAGES - 2; i++) others[i] = tern_pages_take(&pool);
    const int32_t again = publish(-1, 300);
    assert_int_equal(again, a);
    assert_int_equal(find(-1, 100), -1);
    assert_int_equal(find(again, 200), -1);
    tern_pages_release(&pool, again);
    tern_pages_release(&pool, b);
    for (int i = 0; i < N_PAGES - 2; i++) tern_pages_release(&pool, others[i]);
}

static void test_idle_order(void **state)
{
    (void)state;
    int32_t pages[N_PAGES];
    for (int i = 0; i < N_PAGES; i++) pages[i] = publish(-1, 1000 * (i + 1));
    static const int order[N_PAGES] = {3, 0, 4, 1, 2};
    for (int i = 0; i < N_PAGES; i++) tern_pages_release(&pool, pages[order[i]]);
    assert_int_equal(find(-1, 1000), pages[0]); /* held again, so behind the others next time */
    tern_pages_release(&pool, pages[0]);
    static const int expected[N_PAGES] = {3, 4, 1, 2, 0};
    for (int i = 0; i < N_PAGES; i++)
        assert_int_equal(tern_pages_take(&pool), pages[expected[i]]);
    for (int i = 0; i < N_PAGES; i++) {
        assert_int_equal(find(-1, 1000 * (i + 1)), -1);
        tern_pages_release(&pool, pages[i]);
    }
}

static void test_forget(void **state)
{
    (void)state;
    const int32_t a = publish(-1, 100);
    tern_pages_release(&pool, a);
    tern_pages_forget(&pool);
    assert_int_equal(find(-1, 100), -1);
    assert_int_equal(tern_pages_available(&pool), N_PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_take_and_release, create, destroy),
        cmocka_unit_test_setup_teardown(test_find, create, destroy),
        cmocka_unit_test_setup_teardown(test_stale_successor, create, destroy),
        cmocka_unit_test_setup_teardown(test_idle_order, create, destroy),
        cmocka_unit_test_setup_teardown(test_forget, create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
